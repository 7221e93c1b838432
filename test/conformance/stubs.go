package main

var exitChecks []Check
var messageChecks []Check
var fidelityChecks []Check
var hardenedChecks []Check
var terminalChecks []Check
var nameChecks []Check
var procfileChecks []Check
var programChecks []Check
var stormChecks []Check
var idleChecks []Check
