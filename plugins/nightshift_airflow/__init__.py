"""How Airflow reaches a stage: workspaces, operators, assets, pages. Nothing is computed here, and nothing heavy is imported."""
