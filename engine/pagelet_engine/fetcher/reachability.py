"""Why a connection failed: client libraries say "error sending request"; one connection of our own tells the cause."""

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed, Interrupted

_TIMEOUT_S = 10.0


async def why_unreachable(endpoint: str, certificates: str = "") -> FetchFailed:
    """The sentence for an endpoint that a request did not get through to; Interrupted unless a person must act."""
    url = urlsplit(endpoint)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    context = trust(certificates) if url.scheme == "https" else None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.close()
    except ssl.SSLCertVerificationError as error:
        mend = (
            "the authorities of caBundleRef did not sign it; store the endpoint's own authority there"
            if certificates
            else "if its authority is your own, name it in caBundleRef"
        )
        return FetchFailed(
            FailureReason.CERTIFICATE_REFUSED,
            f"{endpoint} shows a certificate that is not trusted ({error.verify_message}): {mend}",
        )
    except ssl.SSLError as error:
        return _unreachable(f"{endpoint} does not speak TLS as wanted ({error.reason}); is it an http:// address?")
    except socket.gaierror:
        return _unreachable(f"the name {host} of {endpoint} does not resolve; correct the endpoint, or its DNS record")
    except TimeoutError:
        return _unreachable(f"{endpoint} does not answer; is a firewall or a NetworkPolicy in the way?")
    except OSError as error:
        return _unreachable(f"{endpoint} cannot be reached ({error.strerror or error}); is it up, is the port right?")
    return _unreachable(f"{endpoint} broke off, or does not answer as such a service does; see its log")


def trust(certificates: str = "") -> ssl.SSLContext:
    """The system's authorities, and those of a PEM text besides."""
    context = ssl.create_default_context()
    # Newer Pythons refuse authorities without extensions that private ones often lack; browsers and curl take them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificates:
        context.load_verify_locations(cadata=certificates)
    return context


def _unreachable(sentence: str) -> Interrupted:
    return Interrupted(FailureReason.SOURCE_UNREACHABLE, sentence)
