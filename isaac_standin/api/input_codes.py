"""What a window reports for each key and movement of the mouse that `gymapi` names."""

from __future__ import annotations

from isaac_standin.api.enums import KeyboardInput, MouseInput
from isaac_standin.viewing.window import Signal

_OTHER_NAMES = {"KEY_DEL": "KEY_DELETE", "KEY_NUMPAD_DEL": "KEY_KP_DECIMAL"}
_BUTTONS = {
    MouseInput.MOUSE_LEFT_BUTTON: 0,
    MouseInput.MOUSE_RIGHT_BUTTON: 1,
    MouseInput.MOUSE_MIDDLE_BUTTON: 2,
    MouseInput.MOUSE_BACK_BUTTON: 3,
    MouseInput.MOUSE_FORWARD_BUTTON: 4,
}


def signal_of(source: KeyboardInput | MouseInput) -> Signal:
    """Return what a window reports for a key or for the mouse."""
    if isinstance(source, KeyboardInput):
        return "key", _glfw_key(source.name)
    if source in _BUTTONS:
        return "button", _BUTTONS[source]
    direction = source.name.split("_")[-1].lower()
    if source.name.startswith("MOUSE_SCROLL"):
        return "scroll", direction
    return "move", direction


def _glfw_key(name: str) -> int:
    """Return GLFW's number of a key by its name in `gymapi`."""
    import glfw

    return getattr(glfw, _OTHER_NAMES.get(name, name.replace("NUMPAD", "KP")))
