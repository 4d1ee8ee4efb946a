"""A bundle for others: a server, and a static page that runs the network in the browser. Neither needs torch."""
