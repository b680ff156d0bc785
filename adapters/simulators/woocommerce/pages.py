"""HTML where JSON was expected: errors, walls and maintenance."""

from __future__ import annotations

from typing import Final

CRITICAL: Final = (
    "<p>There has been a critical error on this website.</p><p>"
    '<a href="https://wordpress.org/documentation/article/faq-troubleshooting/">Learn more about troubleshooting WordPress.</a></p>'
)
MAINTENANCE: Final = (
    '<!DOCTYPE html>\n<html dir=\'ltr\'>\n<head>\n\t<meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />\n'
    '\t<title>Maintenance</title>\n</head>\n<body id="error-page">\n\t<div class="wp-die-message"><h1>'
    "Briefly unavailable for scheduled maintenance. Check back in a minute.</h1></div></body>\n</html>\n"
)
WAF: Final = (
    '<!DOCTYPE html>\n<html lang="en-US"><head><title>Attention Required! | Cloudflare</title></head>\n'
    "<body><h1>Sorry, you have been blocked</h1><h2>You are unable to access this website</h2></body></html>\n"
)
NOTICE: Final = "<br />\n<b>Notice</b>:  Undefined index: plugin in <b>/wp-content/plugins/other/other.php</b> on line <b>42</b><br />\n"
_NAMES: Final = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}


def server(status: int) -> str:
    """What the web server in front of PHP says."""
    name = f"{status} {_NAMES.get(status, 'Error')}"
    head = f"<html>\r\n<head><title>{name}</title></head>\r\n<body>\r\n<center><h1>{name}</h1></center>\r\n"
    return f"{head}<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"


def plain(title: str, body: str) -> str:
    """A page of the shop."""
    style = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}"
    head = f'<meta charset="UTF-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{style}</style>'
    return f'<!DOCTYPE html>\n<html lang="en-US"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def login_wall() -> str:
    return plain("Coming soon", "<h1>Coming soon</h1><form><label>Password <input type='password' name='pw'></label></form>")
