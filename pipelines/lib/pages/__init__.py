"""Pages that people read: templates, figures, Markdown."""
