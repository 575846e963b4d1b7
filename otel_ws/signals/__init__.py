"""The only code that calls the OpenTelemetry API to emit. It is handed cleared values and never a raw one."""
