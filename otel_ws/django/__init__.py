"""The Django application: ``INSTALLED_APPS += ["otel_ws.django"]`` brings system checks, a command, URLs and a link.

Imports nothing of Django's before Django asks for it.
"""
