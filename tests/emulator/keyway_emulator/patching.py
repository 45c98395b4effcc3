"""The few mechanics all patches share: adding methods to moto's classes and remembering client tokens.

It knows nothing of any AWS service.
"""

from typing import Any, Callable

from moto.ec2.exceptions import EC2ClientError


def method(cls: type, name: str | None = None) -> Callable[[Callable], Callable]:
    """Puts the decorated function on `cls`; a method of that name is handed in as the first argument, `original`."""

    def put(function: Callable) -> Callable:
        attribute = name or function.__name__
        original = getattr(cls, attribute, None)
        if original is None:
            setattr(cls, attribute, function)
        else:

            def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
                return function(original, self, *args, **kwargs)

            patched.__name__ = attribute
            setattr(cls, attribute, patched)
        return function

    return put


def action(cls: type) -> Callable[[Callable], Callable]:
    """Adds an action that moto does not know. If a newer moto knows it, the patch has outlived itself: say so."""

    def put(function: Callable) -> Callable:
        if hasattr(cls, function.__name__):
            raise RuntimeError(f"moto now has {cls.__name__}.{function.__name__}: remove the patch or wrap the original")
        setattr(cls, function.__name__, function)
        return function

    return put


def replace(cls: type, name: str | None = None) -> Callable[[Callable], Callable]:
    """Replaces a method that exists; one that has gone is an error, not a silent no-op."""

    def put(function: Callable) -> Callable:
        attribute = name or function.__name__
        if not hasattr(cls, attribute):
            raise RuntimeError(f"moto no longer has {cls.__name__}.{attribute}: the patch has nothing to replace")
        setattr(cls, attribute, function)
        return function

    return put


def of_backend(backend: Any, name: str, make: Callable[[], Any]) -> Any:
    """State that a patch keeps beside moto's own, per account and region; `reset` of the backend drops it."""
    if name not in backend.__dict__:
        backend.__dict__[name] = make()
    return backend.__dict__[name]


def once(backend: Any, operation: str, token: str | None, request: Any, create: Callable[[], Any]) -> Any:
    """Client tokens as AWS documents them ("Ensuring idempotency in Amazon EC2 API requests"): the same token with the
    same parameters answers with the first result, with other parameters it is an IdempotentParameterMismatch. AWS
    remembers a token for at least 24 hours, whether or not the resource was deleted meanwhile; so do we.
    """
    if not token:
        return create()
    seen = of_backend(backend, "_keyway_tokens", dict)
    key = (operation, token)
    if key in seen:
        first_request, result = seen[key]
        if first_request != request:
            raise EC2ClientError(
                "IdempotentParameterMismatch",
                f"The client token {token} was used before with other parameters.",
            )
        return result
    result = create()
    seen[key] = (request, result)
    return result
