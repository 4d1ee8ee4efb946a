"""Pictures and pages made of measured numbers. This file imports nothing: a picture does not need a page's libraries."""
