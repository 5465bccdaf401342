#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# scratch.sh KIB: where tests make their databases, brokers and logs.  In memory when it has that much to spare:
# they begin and remove thousands of files a minute, which a disk makes most of their time.
if [ -w /dev/shm ] && [ "$(df -k --output=avail /dev/shm | tail -n 1)" -gt "$1" ]; then
	echo /dev/shm
else
	echo /tmp
fi
