"""What a run has paid for already: kept while it runs, and answered from after a crash."""
