"""Everything logged to MLflow: one store for all stages, experiments and workers, and runs that always end.

The store is `mlflow.db` and `mlruns/` at the project root, where a bare `mlflow ui` looks for it; MLFLOW_TRACKING_URI
selects a server instead. `address` reads that, `store` opens it, `run` writes runs, `outbox` buffers calls while a
server is unreachable, `process` recognizes processes.
"""
