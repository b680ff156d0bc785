"""WooCommerce behind the port."""
