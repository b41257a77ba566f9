"""``wsgi-sessions top``: the console's numbers in a terminal. Needs rich.

rich rather than textual: nothing is clicked, so a screen that is drawn again suffices. ``--once``
prints the same frame, and rich heeds the width, NO_COLOR and terminals without UTF-8.
"""
