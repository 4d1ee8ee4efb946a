"""Pictures and pages made of measured numbers. Nothing is imported here: a picture needs no page's libraries."""
