"""The HTTP server of `abo-vqa serve`: MLflow's protocol around a registered model, with budgets for hostile requests.

It imports nothing from abo_vqa: a registered version brings the code that it was made with, and two versions of a
package cannot be imported side by side.
"""
