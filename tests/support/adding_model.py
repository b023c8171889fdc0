# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model for MLflow's registry that needs no training: it adds a number to what it is given."""

from __future__ import annotations

#: A program for an image of MLflow's: registers a version that adds so much, and gives it the alias.
REGISTER = """
import sys, mlflow
from mlflow import MlflowClient
class Adds(mlflow.pyfunc.PythonModel):
    def __init__(self, number):
        self.number = number
    def predict(self, context, model_input: list[int]) -> list[int]:
        return [one + self.number for one in model_input]
mlflow.set_experiment("adding")
with mlflow.start_run():
    made = mlflow.pyfunc.log_model(name="adds", python_model=Adds(int(sys.argv[1])), registered_model_name="adds",
                                   pip_requirements=[f"mlflow=={mlflow.__version__}"])
MlflowClient().set_registered_model_alias("adds", "champion", made.registered_model_version)
"""
#: What serves it.
URI = "models:/adds@champion"
