"""Pictures and maps in, a new picture out; nothing here knows of models or Explanations."""
