/** The dialog for the API key. */

import { hasKey, keyEvents, useKey } from "./api.js";
import { byId } from "./dom.js";

export class KeyDialog {
  constructor() {
    this.dialog = byId("key-dialog", HTMLDialogElement);
    this.field = byId("key", HTMLInputElement);
    this.reason = byId("key-reason", HTMLElement);
    this.problem = byId("key-problem", HTMLElement);
    byId("key-open", HTMLButtonElement).addEventListener("click", () => {
      this.open(hasKey() ? "A key is in use." : "No key is in use.");
    });
    byId("key-cancel", HTMLButtonElement).addEventListener("click", () => this.dialog.close());
    byId("key-forget", HTMLButtonElement).addEventListener("click", () => {
      this.dialog.close();
      useKey(null);
    });
    byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    keyEvents.addEventListener("refused", () => this.refused());
    this.dialog.addEventListener("close", () => (this.field.value = ""));
  }

  refused() {
    const wrong = hasKey();
    this.open("This service requires an API key.");
    // Set when the dialog is open already: two requests can be refused at once.
    this.problem.textContent = wrong ? "The service does not accept the key that was used." : "";
  }

  submit() {
    const value = this.field.value.trim();
    // What the header cannot carry is no key of the service either.
    if (!/^[\x21-\x7e]+$/.test(value)) {
      this.problem.textContent = value === "" ? "Type the key first." : "A key consists of ASCII letters, digits and punctuation.";
      this.field.focus();
      return;
    }
    this.dialog.close();
    useKey(value);
  }

  /** @param {string} reason */
  open(reason) {
    this.reason.textContent = reason;
    this.problem.textContent = "";
    if (!this.dialog.open) this.dialog.showModal();
    this.field.focus();
  }
}
