"""The sessions of users in the admin of a Django site: an action, and a page."""
