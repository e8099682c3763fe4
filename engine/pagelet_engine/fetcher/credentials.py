"""Keys, tokens and certificates: files in one folder, projected from a Secret or a ConfigMap. Never the environment."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed

ACCESS_KEY, SECRET_KEY, TOKEN, CA_BUNDLE = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "token", "ca.crt"


def forget_environment() -> None:
    """Take out of this process's environment what client libraries would read from it without being asked.

    Who pays, and whose rights are used, is the resource's to say, not the machine's or the image's.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["NETRC"] = os.devnull


@dataclass
class Credentials:
    """The files of `folder`, read when asked for."""

    folder: Path
    _read: set[str] = field(default_factory=set)

    def secret(self, name: str, field_of_spec: str) -> str:
        """One line of a Secret. Raises FetchFailed naming the key that is missing, never its value."""
        value = self._text(name, field_of_spec).strip()
        if not value or not value.isprintable() or not value.isascii():
            raise FetchFailed(
                FailureReason.WRONG_CREDENTIALS,
                f"the Secret of {field_of_spec} has a key {name} that is {'empty' if not value else 'not one line'}; "
                "store the bare value",
            )
        self._read.add(value)
        return value

    def certificates(self) -> str:
        """PEM text with one certificate at least. Raises FetchFailed."""
        text = self._text(CA_BUNDLE, "source.s3.caBundleRef")
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise FetchFailed(
                FailureReason.CERTIFICATE_REFUSED,
                "what source.s3.caBundleRef names holds no certificate in PEM form "
                "(-----BEGIN CERTIFICATE----- …); store the authority's certificate there",
            ) from error
        return text

    def scrub(self, text: str) -> str:
        """`text` without any value that was read: the last fence before a log."""
        for value in sorted(self._read, key=len, reverse=True):
            text = text.replace(value, "***")
        return text

    def _text(self, name: str, field_of_spec: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            raise FetchFailed(
                FailureReason.WRONG_CREDENTIALS,
                f"what {field_of_spec} names has no key {name}; add it",
            ) from None
        except (OSError, ValueError) as error:
            raise FetchFailed(
                FailureReason.WRONG_CREDENTIALS, f"the key {name} of {field_of_spec} cannot be read as text"
            ) from error
