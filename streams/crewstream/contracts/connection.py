"""How to reach Kafka, as one value that every client of ours is built from."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Address and credentials of a Kafka cluster, in the words of Kafka's own client settings.

    `bootstrap` is `host:port`, several joined by commas. `security_protocol` is PLAINTEXT, SSL,
    SASL_PLAINTEXT or SASL_SSL; `cafile` is a PEM file, empty for the system's authorities.
    """

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: str = ""
    cafile: str = ""

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, or None when the protocol uses none. Raises OSError: no such file."""
        if not self.security_protocol.endswith("SSL"):
            return None
        return ssl.create_default_context(cafile=self.cafile or None)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that aiokafka's consumer, producer and admin client all take."""
        found: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.security_protocol.startswith("SASL"):
            found |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return found
