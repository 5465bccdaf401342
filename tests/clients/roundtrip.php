<?php
// SPDX-License-Identifier: Apache-2.0
// Reads the golden events as typed objects and writes them again; a warning is an error.
error_reporting(E_ALL);
set_error_handler(function ($level, $message, $file, $line) {
    throw new ErrorException($message, 0, $level, $file, $line);
});
require $argv[1];

while (($line = fgets(STDIN)) !== false) {
    $case = json_decode($line, false, 64, JSON_THROW_ON_ERROR);
    $typed = $case->title::from($case->data);
    echo json_encode(['title' => $case->title, 'data' => $typed->to()], JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION), "\n";
}
