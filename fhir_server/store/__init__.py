"""All SQL execution: schema, transactions, rows, jobs, audit."""
