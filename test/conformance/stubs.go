package main

var terminalChecks []Check
var nameChecks []Check
var procfileChecks []Check
var programChecks []Check
var stormChecks []Check
var idleChecks []Check
