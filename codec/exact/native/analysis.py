"""stub"""
def block_of(program): return None
def run(block, given, gain_index): raise NotImplementedError
