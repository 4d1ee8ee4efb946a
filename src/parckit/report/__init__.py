"""Pictures and pages made of measured numbers. This file imports nothing: pictures do not need a page's libraries."""
