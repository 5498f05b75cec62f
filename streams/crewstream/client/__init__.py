"""What another service uses: submit a request, send a command, follow results. Light on purpose."""

from crewstream.client.handle import Handle
from crewstream.client.session import Client

__all__ = ["Client", "Handle"]
