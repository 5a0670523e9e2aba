"""What goes wrong without group labels: the shortcuts that data offer and what a frozen CLIP sees of them."""
