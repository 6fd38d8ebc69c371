"""TLS for the tests: a certificate of this computer, and a proxy that terminates it in front of a portal."""

import datetime
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port, listens
from tests.support.stack import PYTHON, Stack, node_modules
from tests.support.waiting import wait_until


def make_certificate(folder: Path, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a key and a certificate that vouches for itself; return the files of both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    folder.mkdir(parents=True, exist_ok=True)
    key_file, certificate_file = folder / "tls.key", folder / "tls.crt"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file


@contextmanager
def encrypted_front(stack: Stack, folder: Path, port: int, address: str = "127.0.0.1") -> Iterator[None]:
    """Have a proxy with TLS pass everything to the portal's own, as a facility's web server would."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    command = [
        str(node_modules() / ".bin" / "configurable-http-proxy"),
        *("--ip", address, "--port", str(port)),
        *("--api-ip", "127.0.0.1", "--api-port", str(free_port())),
        *("--ssl-key", str(key), "--ssl-cert", str(certificate)),
        *("--default-target", f"http://127.0.0.1:{stack.port}"),
    ]
    with (folder / "front.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]])},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: listens(port, address), what="the front listens")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
