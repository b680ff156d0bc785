"""`retour demo`: the whole of Retour on one machine, with a simulated WooCommerce shop and a mailbox of its own to click through."""


class DemoFailed(Exception):
    """The demo did not come up; the message says at which step."""
