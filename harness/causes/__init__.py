"""Why a program failed, as far as its failure tells: exceptions and signals whose causes are known."""
