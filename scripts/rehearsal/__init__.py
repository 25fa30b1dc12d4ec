"""What the demo is made of: describe a source, restore its backup with plain tools, compare both."""
