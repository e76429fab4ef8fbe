/** Swagger UI over this service's own description. Nothing is fetched from elsewhere. */

const { SwaggerUIBundle } = /** @type {any} */ (globalThis);

SwaggerUIBundle?.({
  url: new URL("../openapi.json", document.baseURI).href,
  domNode: document.getElementById("endpoints"),
  deepLinking: true,
  validatorUrl: null, // it would send the description to a server on the internet
});
