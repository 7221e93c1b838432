package kernel

const sysProcessVMReadv = 351
