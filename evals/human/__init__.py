"""What people say: pages to label items on, labels, and how far people agree."""
