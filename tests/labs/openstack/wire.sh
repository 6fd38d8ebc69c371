#!/bin/sh
# Put a machine's network card on the lab's bridge, for QEMU: wire.sh CARD. The card goes with its machine.
exec ip link set "$1" master "$LAB_BRIDGE" up
