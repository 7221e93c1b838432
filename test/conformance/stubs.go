package main

var programChecks []Check
var stormChecks []Check
var idleChecks []Check
