package kernel

const sysProcessVMReadv = 270
