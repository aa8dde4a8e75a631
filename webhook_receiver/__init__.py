"""The web process: callbacks of gateways, the Jobs API for services, the console for people, metrics.

`app.py` joins the blueprints; a view takes at most one ledger call before it answers a gateway.
"""
