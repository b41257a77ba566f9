"""Health: is the session store fit to serve?"""
