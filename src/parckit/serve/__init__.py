"""A server that answers pictures over HTTP, and a static page that does so in the browser. It never needs torch."""
