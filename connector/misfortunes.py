"""What a merchant reads where a shop cannot be connected or does not work: for each misfortune one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from connector.domain.connecting import Misfortune

SENTENCES: Mapping[Misfortune, str] = MappingProxyType(
    {
        Misfortune.BAD_ADDRESS: (
            "This is not the address of a store: type it as your customers see it, such as shop.example.com or example.com/shop."
        ),
        Misfortune.PRIVATE_ADDRESS: (
            "This address lies in a private network, which cannot be reached from here: type the public address that your customers use."
        ),
        Misfortune.UNREACHABLE: (
            "Nobody answers at this address: check its spelling, and open the store in a private browser window to see that it is up."
        ),
        Misfortune.BAD_CERTIFICATE: (
            "The store's TLS certificate is expired, self-signed or made out to another name: ask your host to renew it, then try again."
        ),
        Misfortune.NO_TLS: (
            "The store answers over http only, where keys would travel unprotected: have your host switch on https, change both addresses"
            " under Settings → General in wp-admin to https://, and try again."
        ),
        Misfortune.SLOW: (
            "The store did not answer in time: try again in a minute, and if it stays slow, ask your host for more PHP workers"
            " or switch off the plugins that slow down its REST API."
        ),
        Misfortune.MAINTENANCE: (
            "The store is in maintenance mode: wait until its updates are done and try again, and if it stays like this,"
            " delete the file .maintenance in the WordPress folder."
        ),
        Misfortune.BLOCKED: (
            "A firewall, a bot check or a security plugin answers in the store's place: in Cloudflare, Wordfence or whatever protects the"
            " store, allow the user agent “Retour” to reach /wp-json/wc/v3/, and try again."
        ),
        Misfortune.NO_REST: (
            "No WordPress REST API answers at this address: check that WordPress itself runs there and not in a subfolder,"
            " and that no plugin switches the REST API off."
        ),
        Misfortune.NO_WOOCOMMERCE: (
            "WordPress answers at this address, but WooCommerce does not: activate it under Plugins → Installed Plugins in wp-admin,"
            " and try again."
        ),
        Misfortune.PLAIN_PERMALINKS: (
            "The store uses plain permalinks, with which WooCommerce refuses every key: choose any other structure"
            " under Settings → Permalinks in wp-admin, save it, and try again."
        ),
        Misfortune.STRIPPED_AUTHORIZATION: (
            "The store's server removes the Authorization header before WooCommerce sees it: add the line"
            " “RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]” below “RewriteEngine On” in its .htaccess, and try again."
        ),
        Misfortune.TLS_AT_PROXY: (
            "TLS ends at a proxy and WordPress takes https for http: add the line"
            " “if (($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https') { $_SERVER['HTTPS'] = 'on'; }”"
            " below “<?php” in wp-config.php, and try again."
        ),
        Misfortune.WRONG_KEYS: (
            "The store does not accept these keys: approve Retour once more, or create new ones with the permission “Read/Write”"
            " under WooCommerce → Settings → Advanced → REST API and paste them."
        ),
        Misfortune.READ_ONLY_KEYS: (
            "These keys may read or write but not both: create new ones with the permission “Read/Write”"
            " under WooCommerce → Settings → Advanced → REST API and paste them."
        ),
        Misfortune.TOO_FEW_RIGHTS: (
            "The account behind these keys may not manage the shop: let an administrator or a shop manager approve Retour,"
            " or create keys for one of them under WooCommerce → Settings → Advanced → REST API."
        ),
        Misfortune.OTHER_STORE: (
            "The store says that its address is another one than you typed: start over with the address"
            " that stands under Settings → General in wp-admin."
        ),
        Misfortune.TOO_OLD: (
            "The store runs a version of WooCommerce that is too old: update it to 9.0 or newer under Dashboard → Updates in wp-admin,"
            " and try again."
        ),
        Misfortune.UNREADABLE: (
            "Something changes the store's answers, so that they are no longer what WooCommerce says: exclude /wp-json/ from caching,"
            " set WP_DEBUG_DISPLAY to false in wp-config.php, and try again."
        ),
    }
)

# With the far side's own fact in place of the braces.
_TELLING: Mapping[Misfortune, str] = MappingProxyType(
    {
        Misfortune.OTHER_STORE: (
            "The store says that its address is {}, which is not what you typed: start over with that address,"
            " or correct it under Settings → General in wp-admin."
        ),
        Misfortune.TOO_OLD: (
            "The store runs WooCommerce {}, which is too old: update it to 9.0 or newer under Dashboard → Updates in wp-admin,"
            " and try again."
        ),
    }
)


def sentence(why: Misfortune, detail: str = "") -> str:
    """What is wrong and what to do about it, in one sentence of plain text. `detail` is the far side's word, cut short; no markup."""
    told = "".join(letter for letter in detail if letter.isprintable())[:120].strip()
    return _TELLING[why].format(told) if told and why in _TELLING else SENTENCES[why]
