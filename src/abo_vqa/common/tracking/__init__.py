"""All that is said to MLflow: one store for every stage, experiment and worker, and runs that always end.

The store is `mlflow.db` and `mlruns/` at the root of the project, where a bare `mlflow ui` looks for it;
MLFLOW_TRACKING_URI moves it to a server. `store` opens it, `run` writes runs, `outbox` keeps what a server that could
not be reached was not told.
"""
