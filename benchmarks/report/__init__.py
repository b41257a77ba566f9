"""What is made of the results: pictures, tables, the documents."""
