package kernel

const sysProcessVMReadv = 310
