"""A site as people write one: admin, accounts by django-allauth, messages, forms with CSRF."""
