"""A language model that learns from its user, on the device.

    import sapwood

    learner = sapwood.Learner.open(sapwood.Config(folder="store", key=key))
    chat = learner.chat("mail.reply")
    for event in sapwood.stream(chat, "Thanks, but Tuesday?"):
        ...

Every call blocks until its work is done and may come from any thread.
"""

from collections.abc import Iterator

from . import sapwood as _generated
from .sapwood import *  # noqa: F403

__all__ = [*_generated.__all__, "stream"]


def stream(
    chat: _generated.Chat, text: str, sampling: _generated.Sampling | None = None
) -> Iterator[_generated.Event]:
    """The reply to ``text`` as it comes: text events, then one done event with the whole reply.

    Leaving the loop early cancels the reply.
    """
    generation = chat.respond(text, sampling)
    try:
        while (event := generation.next()) is not None:
            yield event
    finally:
        generation.cancel()
        while generation.next() is not None:
            pass


def _explain(error: _generated.LearnerError) -> str:
    """What happened, without the field's name in front."""
    return getattr(error, "detail", None) or ", ".join(map(str, error.args)) or type(error).__doc__


for _variant in vars(_generated.LearnerError).values():
    if isinstance(_variant, type) and issubclass(_variant, Exception):
        _variant.__str__ = _explain
