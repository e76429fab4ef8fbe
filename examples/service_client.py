"""Ask a running service for verdicts, and look at what it has rejected.

    poisonsieve serve guard/ --victim victim/ --port 8000
    python examples/service_client.py http://127.0.0.1:8000 "a fine film" "a fine mn film"

With API keys, put one into the variable POISONSIEVE_API_KEY.
"""

import argparse
import os
import sys

from poisonsieve.errors import PoisonsieveError
from poisonsieve.serve.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify texts behind a guard that runs as a service.")
    parser.add_argument("url", help="where the service is")
    parser.add_argument("texts", nargs="+", help="texts to classify")
    options = parser.parse_args()

    try:
        with Client(options.url, api_key=os.environ.get("POISONSIEVE_API_KEY")) as guard:
            for text, verdict in zip(options.texts, guard.classify(options.texts), strict=True):
                print(f"{verdict.outcome:10}  {verdict.label_name or '-':12}  {verdict.reason or ''}  {text!r}")
            waiting = guard.quarantine(decision="open", size=1)["total"]
            print(f"{waiting} rejected texts wait for a decision")
    except PoisonsieveError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
