"""Everything people read: HTML, Markdown, figures."""
