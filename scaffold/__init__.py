"""Tools for people who change this repository: write a new stage, list what a module imports."""
