"""The small promises that the core needs from clouds, sites, movers and the engine.

A driver implements only what is true of its cloud; an ability that is missing is seen by ``isinstance``,
never by a flag and never by NotImplementedError. All are async; blocking libraries run in threads inside
the driver.
"""
